"""What goes in or out in bulk: backups, imports, exports."""

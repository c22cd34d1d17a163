"""What a person decides: who may report, what is deleted, what is handed out."""

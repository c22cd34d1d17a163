"""The face: the only room that imports PySide6. It talks to the agent through the door only."""

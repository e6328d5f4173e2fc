"""The steps of a session's life: opened in order, attached, closed in reverse."""

"""What was decided and what came of it, kept in SQLite and handed back as an outcome log."""

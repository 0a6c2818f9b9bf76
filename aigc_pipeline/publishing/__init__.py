"""A published version: tables, encoded samples, report, card; immutable, hashed, claimed by one rename."""

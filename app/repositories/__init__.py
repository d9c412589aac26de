"""All SQL: one concrete class a table, owned rows only by user_id."""

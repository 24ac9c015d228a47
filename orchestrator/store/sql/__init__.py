"""The store on an SQL database: one code for SQLite and PostgreSQL, whose dialects `database` describes."""

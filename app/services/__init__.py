"""Use-cases: they own their transactions and raise AppError."""

"""How large things may be: schemas refuse what is larger, tables hold what is not."""

MAX_ID = 2**63 - 1  # PostgreSQL's bigint and SQLite's integer
MAX_USERNAME_CHARS = 150  # Django's, as the next
MAX_EMAIL_CHARS = 254
MAX_TITLE_CHARS = 255
MAX_TOKEN_CHARS = 4096
MAX_LIMIT = 1000  # rows of a page
MAX_CURSOR_CHARS = 64
MAX_KEY_CHARS = 255  # of an Idempotency-Key
KEY_PATTERN = "^[!-~]+$"  # printable ASCII without blanks

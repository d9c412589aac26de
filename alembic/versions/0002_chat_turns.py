"""Turns: a question and its answer as one row, with the lease of the replica that works on it.

Revises: 0001
"""

import sqlalchemy as sa

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)
STATUSES = ("running", "completed", "failed", "cancelled", "interrupted")
IS_RUNNING = sa.text("status = 'running'")


def upgrade() -> None:
    op.create_table(
        "chat_turns",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("session_id", BIG_ID, nullable=False),
        sa.Column("user_id", BIG_ID, nullable=False),
        sa.Column("question_id", BIG_ID, nullable=False),
        sa.Column("answer_id", BIG_ID, nullable=True),
        sa.Column(
            "status",
            sa.Enum(*STATUSES, name="status", native_enum=False, create_constraint=True, length=11),
            nullable=False,
        ),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("lease_expires_at", TIME, nullable=False),
        sa.Column("stop_requested", sa.Boolean(), nullable=False),
        sa.Column("idempotency_key", sa.String(255), nullable=True),
        sa.Column("request_hash", sa.String(64), nullable=True),
        sa.Column("partial", sa.Text(), nullable=False),
        sa.Column("error_code", sa.String(50), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("finished_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["session_id"], ["chat_sessions.id"], name="fk_chat_turns_session_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["question_id"], ["chat_messages.id"], name="fk_chat_turns_question_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["answer_id"], ["chat_messages.id"], name="fk_chat_turns_answer_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_chat_turns"),
        sa.UniqueConstraint("question_id", name="uq_chat_turns_question_id"),
        sa.UniqueConstraint("answer_id", name="uq_chat_turns_answer_id"),
        sa.UniqueConstraint("user_id", "idempotency_key", name="uq_chat_turns_user_id_idempotency_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_chat_turns_session_id", "chat_turns", ["session_id"])
    op.create_index(
        "uq_chat_turns_running",
        "chat_turns",
        ["session_id"],
        unique=True,
        sqlite_where=IS_RUNNING,
        postgresql_where=IS_RUNNING,
    )


def downgrade() -> None:
    op.drop_table("chat_turns")

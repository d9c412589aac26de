"""Tables and enums; no I/O. Importing this package makes `Base.metadata` complete."""

from app.models.base import Base
from app.models.bookmarks import Bookmark
from app.models.messages import Message, MessageRole
from app.models.sessions import ChatSession
from app.models.turns import Turn, TurnStatus
from app.models.users import User

__all__ = ["Base", "Bookmark", "ChatSession", "Message", "MessageRole", "Turn", "TurnStatus", "User"]

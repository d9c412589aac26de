"""Usernames."""

import unicodedata


def normal_username(username: str) -> str:
    """The one form in which usernames are stored and compared; the same as Django's (NFKC, case kept)."""
    return unicodedata.normalize("NFKC", username)

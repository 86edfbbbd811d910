"""Google's rules for names that a user chooses or that are made from a user's choices.

Pure: no configuration, no cloud. What a name belongs to, and what is said when it breaks a rule, is decided by callers.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from urllib.parse import urlsplit

_PROJECT = re.compile(r"(?:[a-z0-9.-]+\.[a-z]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")
_EMAIL = re.compile(r"[a-z0-9][a-z0-9.-]*@(?:[a-z0-9.-]+\.iam|developer|appspot)\.gserviceaccount\.com")

MAX_LABEL = 63
MAX_ACCOUNT_ID = 30


def is_project_id(text: str) -> bool:
    """Whether a text can be a project id, `my-project` or the older `example.com:my-project`."""
    return _PROJECT.fullmatch(text) is not None


def is_service_account(text: str) -> bool:
    """Whether a text is the email of a service account, one that users make or one that Google makes by default."""
    return _EMAIL.fullmatch(text) is not None


def is_label_value(text: str) -> bool:
    """Whether Google takes a text as the value of a label."""
    return len(text) <= MAX_LABEL and all(
        char in "-_" or (char.isalnum() and char == char.lower()) for char in text
    )


def is_label_name(text: str) -> bool:
    """Whether Google takes a text as the name of a label: as a value, and a letter first."""
    return text != "" and text[0].isalpha() and is_label_value(text)


def label_value(text: str) -> str:
    """Any text as the value of a label: `Llama 3.1` becomes `llama-3-1`."""
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-")[:MAX_LABEL]


def bucket_name_problem(name: str) -> str | None:
    """Which of Cloud Storage's naming rules a bucket name breaks, None when none."""
    if not 3 <= len(name) <= (222 if "." in name else 63):
        return f"{len(name)} characters; a bucket name has 3 to 63, or to 222 with dots"
    if any(len(part) > 63 for part in name.split(".")):
        return "a part between dots is longer than 63 characters"
    if not _BUCKET.fullmatch(name) or ".." in name:
        return "not a bucket name: lower-case letters, digits, hyphens, underscores and dots, no mark first or last"
    if name.startswith("goog") or "google" in name:
        return "not a bucket name: it may not begin with goog nor contain google"
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return None
    return "an IP address, not a bucket name"


def account_id(pulumi_project: str, stack: str) -> str:
    """Id of a stack's service account: `vertex-vllm-dev`, 6 to 30 characters.

    A name that had to be changed or shortened ends in a digest of the original, so that two stacks never share one.
    """
    whole = f"{pulumi_project}-{stack}"
    plain = re.sub(r"[^a-z0-9-]+", "-", whole.lower()).strip("-")
    if plain == whole and 6 <= len(plain) <= MAX_ACCOUNT_ID and plain[0].isalpha():
        return plain
    digest = hashlib.sha256(whole.encode()).hexdigest()[:6]
    return f"vllm-{plain}"[: MAX_ACCOUNT_ID - 7].rstrip("-") + f"-{digest}"


def api_origin(url: str) -> str | None:
    """`http://host:port` of an API's address, None when it is none; a path may only be a version of the API."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        return None
    if parts.query or parts.fragment or parts.path.strip("/") not in ("", "v1", "v1beta1"):
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")


def is_loopback(url: str) -> bool:
    """Whether a URL is served by this machine, by its address or as `localhost`."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

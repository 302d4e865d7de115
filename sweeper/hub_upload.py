"""What stands between a person and an upload to the Hugging Face hub, said in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sweeper.checks import ConfigError


def check_name(key: str, repo: str) -> None:
    """Raises ConfigError."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise ConfigError(key, repo, str(error).splitlines()[0], "me/my-name, say") from error


def is_offline() -> bool:
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE


def check_online(key: str, repo: str, fix: str) -> None:
    """Raises ConfigError."""
    if is_offline():
        raise ConfigError(key, repo, "HF_HUB_OFFLINE is set, so the hub may not be asked", fix)


@contextmanager
def refusals(key: str, repo: str) -> Iterator[None]:
    """ConfigError for what the hub refuses, and where it does not answer."""
    # The base of its own errors is that of the HTTP library, whichever it uses.
    from huggingface_hub.errors import HTTPError, LocalTokenNotFoundError  # type: ignore[attr-defined]

    try:
        yield
    except (HTTPError, LocalTokenNotFoundError) as error:
        said = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ConfigError(key, repo, f"the hub does not take it ({said})", "log in: `hf auth login` or HF_TOKEN, and "
                          "see that the hub can be reached") from error  # fmt: skip

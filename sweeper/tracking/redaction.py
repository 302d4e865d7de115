"""Keeps secrets out of everything that is written: run folders, MLflow, messages.

A secret is the value of an environment variable whose name says so, or a password inside a URL.
Owns no storage; whoever writes calls it first.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

REDACTED = "<redacted>"
# A shorter value (`FLAG_KEY=1`, `DB_PASSWORD=test`) would blot out ordinary words and numbers.
MIN_SECRET_LENGTH = 6

# Must end a part of the name: HF_TOKEN and AWS_SECRET_ACCESS_KEY are secrets, TOKENIZERS_PARALLELISM is none.
_SECRET_NAME = re.compile(r"(TOKEN|KEY|SECRET|PASSWORD|PASSWD|CREDENTIAL)S?(_|$)", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(?<=://)([^/\s:@]*):([^/\s@]+)@")


@dataclass(frozen=True)
class Redactor:
    secrets: tuple[str, ...]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Redactor:
        """Longest first, so that a secret which contains another is replaced whole."""
        values = {
            value.strip()
            for name, value in environment.items()
            if len(value.strip()) >= MIN_SECRET_LENGTH and _SECRET_NAME.search(name)
        }
        return cls(tuple(sorted(values, key=lambda value: (-len(value), value))))

    def text(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, REDACTED)
        return _URL_PASSWORD.sub(rf"\1:{REDACTED}@", text) if "://" in text else text

    def json(self, value: Any) -> Any:
        """The same JSON value with every string, and every key of an object, redacted."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.json(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.json(item) for item in value]
        return value

"""The key that pays for responses: an ordinary Ethereum account in a keystore of version 3."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from attestrio.bls.keystore import MAX_BYTES, Malformed, NotOpened, opened
from attestrio.errors import SetupError
from attestrio.kit.files import read_bounded

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount


class AccountUnusable(SetupError):
    """A keystore with an Ethereum account that cannot be read, or is not what a keystore looks like."""

    code: ClassVar[str] = "account_unusable"

    def __init__(self, file: Path, problem: str) -> None:
        super().__init__(f"keystore {file}: {problem}")
        self.file = file


class AccountNotOpened(SetupError):
    """The password does not open the keystore of an Ethereum account, or the keystore was changed."""

    code: ClassVar[str] = "account_not_opened"

    def __init__(self, file: Path) -> None:
        super().__init__(f"keystore {file}: wrong password, or the file was changed after it was written")
        self.file = file


def read_account(file: Path, password: str) -> LocalAccount:
    """The account in a file, as geth, cast and eth-account write it. Up to some seconds of work.

    Raises AccountUnusable, AccountNotOpened, MissingExtra.
    """
    from eth_account import Account  # 0.6 s, which only who sends pays

    try:
        _, payload = opened(read_bounded(file, MAX_BYTES), password)
        account: LocalAccount = Account.from_key(payload)
    except OSError as exc:
        raise AccountUnusable(file, f"cannot be read ({exc.strerror})") from exc
    except Malformed as exc:
        raise AccountUnusable(file, f"not a keystore: {exc}") from exc
    except NotOpened as exc:
        raise AccountNotOpened(file) from exc
    except ValueError as exc:  # another length, zero, or not below the order of the group
        raise AccountUnusable(file, "what it holds is no key of secp256k1") from exc
    return account

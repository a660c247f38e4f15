"""What can be wrong with a point, a scalar or a keystore, one name per rule. No text repeats what was read."""

from __future__ import annotations

from typing import ClassVar

from attestrio.errors import PeerError, SetupError


class BadPoint(PeerError):
    """Numbers that are no point of BN254 anybody should use. Raise one of the classes below."""

    code: ClassVar[str] = "bad_point"

    def __init__(self, group: str, problem: str) -> None:
        super().__init__(f"{group} point: {problem}")
        self.group = group


class CoordinateOutOfRange(BadPoint):
    """A coordinate is not below the prime of the field: the same point would have several encodings."""

    code: ClassVar[str] = "coordinate_out_of_range"

    def __init__(self, group: str) -> None:
        super().__init__(group, "a coordinate is not below the field's prime")


class NotOnCurve(BadPoint):
    """The coordinates do not satisfy the equation of the curve."""

    code: ClassVar[str] = "not_on_curve"

    def __init__(self, group: str) -> None:
        super().__init__(group, "not on the curve")


class NotInSubgroup(BadPoint):
    """A point of the twisted curve whose order is not that of the group: pairings with it prove nothing."""

    code: ClassVar[str] = "not_in_subgroup"

    def __init__(self, group: str) -> None:
        super().__init__(group, "on the curve, but not in the group of prime order")


class PointAtInfinity(BadPoint):
    """The neutral element, where only a key or a signature makes sense."""

    code: ClassVar[str] = "point_at_infinity"

    def __init__(self, group: str) -> None:
        super().__init__(group, "the point at infinity is no key and no signature")


class WrongPointLength(BadPoint):
    """The encoding of a point has another number of bytes or limbs."""

    code: ClassVar[str] = "wrong_point_length"

    def __init__(self, group: str, got: int, want: int, unit: str) -> None:
        super().__init__(group, f"{got} {unit}, it has {want}")
        self.got, self.want = got, want


class LimbOutOfRange(BadPoint):
    """A limb of a coordinate does not fit 64 bits."""

    code: ClassVar[str] = "limb_out_of_range"

    def __init__(self, group: str) -> None:
        super().__init__(group, "a limb does not fit 64 bits")


class BadScalar(PeerError):
    """A secret key that is zero, or not below the order of the group."""

    code: ClassVar[str] = "bad_bls_scalar"

    def __init__(self) -> None:
        super().__init__("BLS secret key: zero, or not below the order of the group")


class KeystoreUnusable(SetupError):
    """A BLS keystore that cannot be read or written, or is not what a keystore looks like."""

    code: ClassVar[str] = "bls_keystore_unusable"

    def __init__(self, what: str, problem: str) -> None:
        super().__init__(f"BLS keystore {what}: {problem}")


class WrongPassword(SetupError):
    """The password does not open the BLS keystore, or the keystore was changed."""

    code: ClassVar[str] = "bls_wrong_password"

    def __init__(self, what: str) -> None:
        super().__init__(f"BLS keystore {what}: wrong password, or the file was changed after it was written")

# ruff: noqa: ANN001, ANN201, I001 (60 lines at most, so that it is read before it is trusted)
"""Does FILE prove that an attester voted for two hashes? python3 verify_equivocation.py FILE; exit 0: yes, 1: no.
Needs Python 3.8 and nothing else: secp256k1 and keccak-256 are below. The signers of both messages are recovered."""
import json
import sys
P, N = 2**256 - 2**32 - 977, 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
GX = 0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798  # of the generator; its y is even

def rotate(lane, by): return (lane << by | lane >> 64 - by) % 2**64
def keccak256(data):
    a, rc = [[0] * 5 for _ in range(5)], 1
    data += b"\x01" + bytes(134 - len(data)) + b"\x80"  # one block of 136: a message has 76 to 85 bytes
    for i in range(17):
        a[i % 5][i // 5] = int.from_bytes(data[8 * i : 8 * i + 8], "little")
    for _ in range(24):
        c = [x[0] ^ x[1] ^ x[2] ^ x[3] ^ x[4] for x in a]
        a = [[lane ^ c[x - 1] ^ rotate(c[(x + 1) % 5], 1) for lane in a[x]] for x in range(5)]
        x, y, lane = 1, 0, a[1][0]
        for t in range(24):
            x, y = y, (2 * x + 3 * y) % 5
            lane, a[x][y] = a[x][y], rotate(lane, (t + 1) * (t + 2) // 2 % 64)
        a = [[a[x][y] ^ ~a[(x + 1) % 5][y] & a[(x + 2) % 5][y] for y in range(5)] for x in range(5)]
        for bit in range(7):
            rc = (rc << 1 ^ (rc >> 7) * 0x71) % 256
            a[0][0] ^= (rc >> 1 & 1) << 2**bit - 1
    return b"".join(a[i][0].to_bytes(8, "little") for i in range(4))
def add(a, b):  # None is the point at infinity
    if a is None or b is None or (a[0] == b[0] and a[1] != b[1]):
        return (a or b) if a is None or b is None else None
    up, down = (3 * a[0] ** 2, 2 * a[1]) if a == b else (b[1] - a[1], b[0] - a[0])
    slope = up * pow(down, -1, P) % P
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P
def times(k, point):
    return add(times(k // 2, add(point, point)), point if k % 2 else None) if k else None
def lift(x, odd):
    y = pow(x**3 + 7, (P + 1) // 4, P)
    return x, y if y % 2 == odd else P - y
def signer(message, signature):  # r and s of 32 bytes, then 27 or 28: whether the y of the nonce is odd
    r, s, v = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big"), signature[64]
    if not (0 < r < N and 0 < s <= N // 2 and v in (27, 28) and pow(r**3 + 7, P // 2, P) == 1):  # 1: r is of a point
        raise ValueError("a signature is out of range")
    minus_hash = times(-int.from_bytes(keccak256(message), "big") % N, lift(GX, 0))
    x, y = times(pow(r, -1, N), add(times(s, lift(r, v - 27)), minus_hash))
    return bytes([2 + y % 2]) + x.to_bytes(32, "big")
def raw(text, size):  # the number in hex after the last colon
    return int(text.rpartition(":")[2], 16).to_bytes(size, "big")
sys.excepthook = lambda kind, exc, _: print(f"not proved: {exc!r}")  # exit code 1
with open(sys.argv[1], encoding="utf-8") as file:
    told = json.load(file)  # what "format" says does not matter: two signatures that contradict each other prove it
number, key, genesis, (one, other) = told["number"], raw(told["key"], 33), raw(told["genesis"], 32), told["votes"]
if raw(one["hash"], 32) == raw(other["hash"], 32) or not 0 <= number < 2**64:
    raise ValueError("one hash twice, or no number of 64 bits")
varint = bytes(number >> at & 127 | (number >> at + 7 > 0) << 7 for at in range(0, number.bit_length() or 1, 7))
for vote in (one, other):
    batch = b"\x08" + varint + b"\x12\x22\x0a\x20" + raw(vote["hash"], 32) + b"\x1a\x22\x0a\x20" + genesis
    message = b"\x22" + bytes([len(batch)]) + batch
    if message.hex() != vote["message"] or signer(message, raw(vote["signature"], 65)) != key:
        raise ValueError("a message is of another batch, or signed by another key")
print(f"proved: {told['key']} voted for two hashes of batch {number} under {told['genesis']}")

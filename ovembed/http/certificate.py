"""Until when a certificate is valid, which Python's ssl tells only of those of others."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from typing import NamedTuple

# Tags of DER (X.690) that occur on the way to the date.
_VERSION = 0xA0
_YEAR_OF_TWO_DIGITS = 0x17

_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"


class _Element(NamedTuple):
    """Its content is der[start:end]."""

    tag: int
    start: int
    end: int


def expiry(pem: bytes) -> datetime | None:
    """Of the first certificate in a file that ssl takes; None where there is none in the usual form, or no longer."""
    begin, end = pem.find(_BEGIN), pem.find(_END)
    if begin < 0 or end < begin:
        return None
    return _not_after(ssl.PEM_cert_to_DER_cert(pem[begin : end + len(_END)].decode("ascii")))


def _not_after(der: bytes) -> datetime:
    """RFC 5280, 4.1: Certificate, TBSCertificate, Validity."""
    certificate = _element(der, 0)
    to_be_signed = _element(der, certificate.start)
    field = _element(der, to_be_signed.start)
    if field.tag == _VERSION:
        field = _element(der, field.end)
    serial_number = field
    signature = _element(der, serial_number.end)
    issuer = _element(der, signature.end)
    validity = _element(der, issuer.end)
    not_before = _element(der, validity.start)
    not_after = _element(der, not_before.end)
    digits = der[not_after.start : not_after.end].decode("ascii")
    year = "%y" if not_after.tag == _YEAR_OF_TWO_DIGITS else "%Y"
    return datetime.strptime(digits, f"{year}%m%d%H%M%SZ").replace(tzinfo=UTC)


def _element(der: bytes, at: int) -> _Element:
    tag, length, start = der[at], der[at + 1], at + 2
    if length & 0x80:  # then it says how many bytes tell the length
        wide = length & 0x7F
        length = int.from_bytes(der[start : start + wide], "big")
        start += wide
    return _Element(tag, start, start + length)

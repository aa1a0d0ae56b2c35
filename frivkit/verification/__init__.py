"""Verification: label agreement of a compressed model with the original, and what it saves."""

from frivkit.verification.verification import Verification, verify

__all__ = ["Verification", "verify"]

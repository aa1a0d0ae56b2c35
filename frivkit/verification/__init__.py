"""The proof: what a compressed model still says, and what it saves."""

from frivkit.verification.verification import Verification, verify

__all__ = ["Verification", "verify"]

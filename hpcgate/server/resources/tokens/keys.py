"""The route by which others can check tokens."""

from __future__ import annotations

import marshmallow as ma
from flask import Response

from hpcgate.server.context import gateway
from hpcgate.server.resources.common import text
from hpcgate.server.smorest import Blueprint, Schema, reply

blp = Blueprint("keys", __name__, description="Public keys of tokens.")


class KeySchema(Schema):
    """A public key, as RFC 8037 has it."""

    kty = text("always `OKP`")
    crv = text("always `Ed25519`")
    x = text("the key")
    kid = text("its name, as tokens have it in their head")
    alg = text("always `EdDSA`")
    use = text("always `sig`")


class KeySetSchema(Schema):
    """A JSON Web Key Set."""

    keys = ma.fields.List(ma.fields.Nested(KeySchema), required=True, metadata={"description": "the keys"})


@blp.route("/keys")
@blp.response(200, KeySetSchema)
@blp.problems(429)
@blp.doc(security=[])
def keys() -> Response:
    """The keys by which others can check tokens (a JSON Web Key Set); none where tokens are signed with a secret.

    Whether a token was revoked, only the gateway can tell: `GET /me`.
    """
    return reply({"keys": gateway().identities.public_keys()})

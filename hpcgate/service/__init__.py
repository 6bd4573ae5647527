"""Use cases. Nothing here knows Flask, peewee, pluggy or marshmallow."""

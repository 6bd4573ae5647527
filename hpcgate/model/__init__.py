"""The words of the domain as frozen dataclasses. Nothing here knows Flask, peewee or pluggy."""

"""How commands and files reach a site."""

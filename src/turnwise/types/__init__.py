"""The wire types of the conversation API: what travels, written once for the client and the server."""

"""The operations of the API, written as pure functions, and the clients that perform them."""

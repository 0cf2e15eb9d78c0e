"""A model for clients: a page in the browser, or HTTP."""

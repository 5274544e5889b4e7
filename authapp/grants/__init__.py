"""What a client may trade for tokens: each grant is a part of the request validator (`authapp.validator`)."""

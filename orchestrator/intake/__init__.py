"""From a request to a prepared one: parameters, input files, price, admission."""

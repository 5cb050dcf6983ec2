"""Tools that know no noun of the house: errors, clock, codec, loops."""

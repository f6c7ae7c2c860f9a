"""Label sets: public facts of well-known data sets."""

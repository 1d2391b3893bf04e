//! Floor 1: the registry: revisions, compare-and-swap and watch over an append-only journal.

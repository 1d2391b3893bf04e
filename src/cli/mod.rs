//! Floor 3: arguments → validated config → run.

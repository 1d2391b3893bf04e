//! The agent's end of the link: dial, join, stay connected.

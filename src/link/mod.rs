//! Floor 1: messages and streams on the WebSocket between an agent and a server, both ends.

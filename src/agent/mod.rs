//! Floor 2: the node: link client, pod loop, status, streams, images.

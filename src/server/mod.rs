//! Floor 2: the brain: HTTPS listener, API handlers, links, controllers.

//! The node config: where it comes from, and what is rendered from it.
//!
//! - [`intake`] from bootsel to `state`, keeping the last good one · [`store`] files written whole or not at all ·
//!   [`templates`] files rendered from it · [`native`] what their programs say of them

pub mod intake;
pub mod native;
pub mod role;
pub mod store;
pub mod templates;

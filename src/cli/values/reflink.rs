//! When to clone files.

use clap::ValueEnum;

use ringsync::Reflink;

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum ReflinkArg {
    // No help of their own, as with the engine's.
    #[default]
    Auto,
    Always,
    Never,
}

impl From<ReflinkArg> for Reflink {
    fn from(argument: ReflinkArg) -> Self {
        match argument {
            ReflinkArg::Auto => Reflink::Auto,
            ReflinkArg::Always => Reflink::Always,
            ReflinkArg::Never => Reflink::Never,
        }
    }
}

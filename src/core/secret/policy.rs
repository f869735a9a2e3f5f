//! What a creation policy allows.

use crate::api::external_secret::{CreationPolicy, ExternalSecret};

/// What a creation policy allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether a Secret that is not there is created.
    pub creates: bool,
    /// Whether the Secret goes with the ExternalSecret.
    pub owns: bool,
    /// Whether others may hold keys of the Secret, which stay.
    pub shares: bool,
}

impl Policy {
    /// The policy of an ExternalSecret.
    pub fn of(object: &ExternalSecret) -> Self {
        let nothing = Self { creates: false, owns: false, shares: false };
        match object.spec.target.creation_policy.unwrap_or_default() {
            CreationPolicy::Owner => Self { creates: true, owns: true, ..nothing },
            CreationPolicy::Orphan => Self { creates: true, ..nothing },
            CreationPolicy::Merge => Self { shares: true, ..nothing },
            CreationPolicy::CreateOrMerge => Self { creates: true, shares: true, ..nothing },
            CreationPolicy::None => nothing,
        }
    }

    /// Whether anything is written at all.
    pub fn writes(self) -> bool {
        self.creates || self.shares
    }
}

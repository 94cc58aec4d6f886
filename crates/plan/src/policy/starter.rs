//! Policies to begin with.

/// Name and text of each, as files for `policies/`.
pub const STARTER: [(&str, &str); 5] = [
    ("limits-set", include_str!("starter/limits-set.yaml")),
    ("no-latest-tag", include_str!("starter/no-latest-tag.yaml")),
    ("no-privileged", include_str!("starter/no-privileged.yaml")),
    ("signed-commits", include_str!("starter/signed-commits.yaml")),
    ("trusted-registries", include_str!("starter/trusted-registries.yaml")),
];

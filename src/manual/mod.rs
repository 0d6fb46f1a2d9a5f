//! The manual: what is promised, how it is built, what it defends against, how certificates live, every default, every word.

pub mod contract {
    #![doc = include_str!("contract.md")]
}

pub mod architecture {
    #![doc = include_str!("architecture.md")]
}

pub mod protocol {
    #![doc = include_str!("protocol.md")]
}

pub mod threats {
    #![doc = include_str!("threats.md")]
}

pub mod policy {
    #![doc = include_str!("policy.md")]
}

pub mod certificates {
    #![doc = include_str!("certificates.md")]
}

pub mod defaults {
    #![doc = include_str!("defaults.md")]
}

pub mod configuration {
    #![doc = include_str!("configuration.md")]
}

pub mod performance {
    #![doc = include_str!("performance.md")]
}

pub mod glossary {
    #![doc = include_str!("glossary.md")]
}

//! Numbers of at least one.

/// A number from 1 to `most`.
pub(crate) fn count(most: u16) -> impl Fn(&str) -> Result<u16, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text.parse().ok().filter(|number| (1..=most).contains(number));
        number.ok_or_else(|| format!("not a number from 1 to {most}"))
    }
}

//! Lists made of what iterators give.

/// A list of what an iterator gives.
///
/// Does what `collect` does. That brings along several ways to make a list, of which
/// the iterator's type chooses one, and each use of it takes some 500 bytes of a
/// component; this is one loop.
#[must_use]
pub fn list<T>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut list = Vec::new();
    for item in items {
        list.push(item);
    }
    list
}

/// The same of what may fail: up to the first failure.
///
/// # Errors
///
/// That failure.
pub fn try_list<T, E>(items: impl IntoIterator<Item = Result<T, E>>) -> Result<Vec<T>, E> {
    let mut list = Vec::new();
    for item in items {
        list.push(item?);
    }
    Ok(list)
}

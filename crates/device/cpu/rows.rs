//! Operations on the rows of a matrix: adding biases, gathering, scattering, and looking up rows of tables.

use super::split::over_rows;
use super::{Buffer, HostColumns, HostColumnsMut, Numbers};
use crate::Write;

/// Every row of `y` [n, D] ← `bias` \[D\].
///
/// # Panics
/// If the sizes do not fit.
pub fn fill_rows(y: &mut [f32], bias: &[f32]) {
    assert_eq!(y.len() % bias.len(), 0);
    over_rows(y, bias.len(), |_, y| {
        y.chunks_exact_mut(bias.len())
            .for_each(|row| row.copy_from_slice(bias));
    });
}

/// Adds `bias` \[D\] to every row of `y` [n, D].
///
/// # Panics
/// If the sizes do not fit.
pub fn add_to_rows(y: &mut [f32], bias: &[f32]) {
    assert_eq!(y.len() % bias.len(), 0);
    over_rows(y, bias.len(), |_, y| {
        for row in y.chunks_exact_mut(bias.len()) {
            row.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
        }
    });
}

/// `x` [n, D] ← (`x` +) `scale`·the row of each id in `table`.
///
/// # Panics
/// If an id is beyond its table.
pub fn embed(ids: &[u32], table: Numbers<'_>, scale: f32, x: &mut [f32], into: Write) {
    let width = x.len() / ids.len().max(1);
    for (x, id) in x.chunks_exact_mut(width.max(1)).zip(ids) {
        let start = *id as usize * width;
        match into {
            Write::Over => table.copy_scaled(start, scale, x),
            Write::Add => table.add_scaled(start, scale, x),
        }
    }
}

/// Adds `from` to `to`, number by number.
///
/// # Panics
/// If the sizes differ.
pub fn add(from: &[f32], to: &mut [f32]) {
    assert_eq!(from.len(), to.len());
    over_rows(to, 1, |start, to| {
        let from = &from[start..][..to.len()];
        to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
    });
}

/// `to` ← `to` + `from`, of as many rows and columns.
///
/// # Panics
/// If they are not.
pub fn add_columns(from: HostColumns<'_>, to: HostColumnsMut<'_>) {
    to.check_like(from);
    to.for_each_row(|row, to| {
        let from = from.row(row);
        to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
    });
}

/// `to` [R, D] ← these rows of `from` [n, D].
///
/// # Panics
/// If a row is beyond `from`.
pub fn gather_rows(rows: &[usize], from: &[f32], to: &mut [f32]) {
    let width = to.len() / rows.len().max(1);
    for (row, to) in rows.iter().zip(to.chunks_exact_mut(width.max(1))) {
        to.copy_from_slice(&from[row * width..][..width]);
    }
}

/// Adds `scale`·each row of `from` [R, D] to one of `to` [n, D].
///
/// # Panics
/// If a row is beyond `to`.
pub fn scatter_add_rows(
    rows: impl ExactSizeIterator<Item = usize>,
    scale: f32,
    from: &[f32],
    to: &mut [f32],
) {
    let width = from.len() / rows.len().max(1);
    for (row, from) in rows.zip(from.chunks_exact(width.max(1))) {
        let to = &mut to[row * width..][..width];
        to.iter_mut()
            .zip(from)
            .for_each(|(sum, x)| *sum += scale * x);
    }
}

/// The first rows of `x`, of `width` floats each, ← these rows of `x`. If rows are only dropped, the others are
/// moved in place; otherwise they are copied to new memory.
///
/// # Panics
/// If a row is beyond `x`.
pub fn keep_rows(x: &mut Buffer, width: usize, rows: &[usize]) {
    if rows.is_sorted_by(|a, b| a < b) {
        for (to, &row) in rows.iter().enumerate() {
            x.copy_within(row * width..(row + 1) * width, to * width);
        }
        return;
    }
    let mut kept = Buffer::zeroed(x.len().max(rows.len() * width));
    gather_rows(rows, x, &mut kept[..rows.len() * width]);
    *x = kept;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_gets_its_bias() {
        let bias: Vec<f32> = (0..7).map(|i| i as f32).collect();
        let mut y = vec![9.0; 7 * 3001];
        fill_rows(&mut y, &bias);
        add_to_rows(&mut y, &bias);
        assert!(
            y.iter()
                .enumerate()
                .all(|(i, y)| *y == 2.0 * (i % 7) as f32)
        );
    }

    #[test]
    fn numbers_are_added_one_by_one() {
        for n in [0, 3, 100_003] {
            let from: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let mut to = vec![0.5; n];
            add(&from, &mut to);
            assert!(to.iter().zip(&from).all(|(to, from)| *to == from + 0.5));
        }
    }

    #[test]
    fn some_rows_go_and_come_back() {
        let x: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let mut some = [0.0; 9];
        gather_rows(&[2, 0, 2], &x, &mut some);
        assert_eq!(some, [6.0, 7.0, 8.0, 0.0, 1.0, 2.0, 6.0, 7.0, 8.0]);
        let mut sums = [1.0; 12];
        scatter_add_rows([2, 0, 2].into_iter(), 1.0, &some, &mut sums);
        assert_eq!(sums[..6], [1.0, 2.0, 3.0, 1.0, 1.0, 1.0]);
        assert_eq!(sums[6..], [13.0, 15.0, 17.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn rows_that_stay_move_to_the_front() {
        for rows in [&[0, 2, 3][..], &[1], &[], &[3, 1], &[2, 2, 0, 0, 1]] {
            let mut x = Buffer::zeroed(8);
            (0..8).for_each(|i| x[i] = i as f32);
            keep_rows(&mut x, 2, rows);
            let want = rows.iter().flat_map(|row| [2 * row, 2 * row + 1]);
            let want: Vec<f32> = want.map(|i| i as f32).collect();
            assert_eq!(x[..want.len()], want, "{rows:?}");
        }
    }

    #[test]
    fn tables_in_either_type_of_number() {
        let table: Vec<f32> = (0..6).map(|i| i as f32).collect();
        let words = crate::cpu::numbers::words(&table);
        for table in [Numbers::F32(&table), Numbers::Bf16(&words)] {
            let mut x = [9.0; 4];
            embed(&[2, 0], table, 1.0, &mut x, Write::Over);
            assert_eq!(x, [4.0, 5.0, 0.0, 1.0]);
            embed(&[1, 1], table, 0.5, &mut x, Write::Add);
            assert_eq!(x, [5.0, 6.5, 1.0, 2.5]);
            embed(&[1, 2], table, 3.0, &mut x, Write::Over);
            assert_eq!(x, [6.0, 9.0, 12.0, 15.0]);
        }
    }
}

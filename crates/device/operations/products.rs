//! Matrix products.

use crate::{DeviceTypes, Epilogue, Matrix, Precision, Slice, SliceMut, Write};

/// Matrix products, and products of few rows with packed matrices, for decoding.
pub trait Products: DeviceTypes {
    /// `c` ← (`c` +) `scale`·`a`·`b`, with operands rounded as `precision` says.
    fn matmul(
        &self,
        precision: Precision,
        c: SliceMut<'_, Self>,
        into: Write,
        scale: f32,
        a: Matrix<'_, Self>,
        b: Matrix<'_, Self>,
    );

    /// `y` [n, out] ← (`y` +) x·W (+ b), for `x` [n, in] and W [in, out]. A weight that is stored as
    /// [out, in] is passed as [`Matrix::t`] of it.
    fn linear(
        &self,
        precision: Precision,
        x: Slice<'_, Self>,
        weight_and_bias: (Matrix<'_, Self>, Option<Slice<'_, Self>>),
        y: SliceMut<'_, Self>,
        into: Write,
    );

    /// Adds the sum of all rows of `x` [n, D] to `sums` \[D\]: the gradient of a bias.
    fn add_column_sums(&self, x: Slice<'_, Self>, sums: SliceMut<'_, Self>);

    /// Packs a matrix [k, n], row-major or transposed, into the given memory, which grows if it is too small.
    fn pack(
        &self,
        memory: Self::Buffer,
        precision: Precision,
        matrix: Matrix<'_, Self>,
    ) -> Self::Packed;

    /// Returns the memory of a packed matrix for reuse; its contents are unspecified.
    fn unpack(&self, packed: Self::Packed) -> Self::Buffer;

    /// `c` [m, n] ← (`c` +) scale·`x`·matrix + bias, for `x` [m, k]. `scratch` is
    /// reused between calls.
    fn multiply_packed(
        &self,
        x: Slice<'_, Self>,
        matrix: &Self::Packed,
        epilogue: Epilogue<'_, Self>,
        scratch: &mut Self::Buffer,
        c: SliceMut<'_, Self>,
    );
}

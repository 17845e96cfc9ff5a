//! [`Products`] of the processor: each operation is a kernel of the folder above.

use crate::cpu::{self, Buffer, Cpu, PackedMatrix, View};
use crate::{Epilogue, Matrix, Precision, Products, Slice, SliceMut, Write};

impl Products for Cpu {
    #[inline]
    fn matmul(
        &self,
        precision: Precision,
        c: SliceMut<'_, Self>,
        into: Write,
        scale: f32,
        a: Matrix<'_, Self>,
        b: Matrix<'_, Self>,
    ) {
        cpu::matmul(precision, c.host(), into, scale, a.host(), b.host());
    }

    fn linear(
        &self,
        precision: Precision,
        x: Slice<'_, Self>,
        (weight, bias): (Matrix<'_, Self>, Option<Slice<'_, Self>>),
        y: SliceMut<'_, Self>,
        into: Write,
    ) {
        let (x, y, weight) = (View::new(x.host(), weight.rows()), y.host(), weight.host());
        let into = match (bias, into) {
            (None, into) => into,
            (Some(bias), Write::Over) => {
                cpu::fill_rows(y, bias.host());
                Write::Add
            }
            (Some(bias), Write::Add) => {
                cpu::add_to_rows(y, bias.host());
                Write::Add
            }
        };
        cpu::matmul(precision, y, into, 1.0, x, weight);
    }

    fn add_column_sums(&self, x: Slice<'_, Self>, sums: SliceMut<'_, Self>) {
        cpu::add_column_sums(x.host(), sums.host());
    }

    fn pack(&self, memory: Buffer, precision: Precision, matrix: Matrix<'_, Self>) -> PackedMatrix {
        PackedMatrix::within(memory, precision, matrix.host())
    }

    fn unpack(&self, packed: PackedMatrix) -> Buffer {
        packed.into_memory()
    }

    #[inline]
    fn multiply_packed(
        &self,
        x: Slice<'_, Self>,
        matrix: &PackedMatrix,
        epilogue: Epilogue<'_, Self>,
        scratch: &mut Buffer,
        c: SliceMut<'_, Self>,
    ) {
        let epilogue = cpu::Epilogue {
            bias: epilogue.bias.map(Slice::host),
            scale: epilogue.scale,
            write: epilogue.write,
        };
        matrix.multiply(x.host(), epilogue, scratch, c.host());
    }
}

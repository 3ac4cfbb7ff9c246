# SPDX-License-Identifier: Apache-2.0
#
# Cross build on Debian or Ubuntu: gcc-aarch64-linux-gnu, and the libraries' :arm64 packages beside the native ones (multiarch).
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH /usr/lib/aarch64-linux-gnu /usr)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(ENV{PKG_CONFIG_LIBDIR} /usr/lib/aarch64-linux-gnu/pkgconfig:/usr/share/pkgconfig)
# libc6:arm64 puts the loader where the program looks for it.
find_program(BB_QEMU_AARCH64 qemu-aarch64)
if(BB_QEMU_AARCH64)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${BB_QEMU_AARCH64})
endif()

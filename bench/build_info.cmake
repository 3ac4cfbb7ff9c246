# SPDX-License-Identifier: Apache-2.0
#
# Run at every build: which commit this is, and whether the tree had changes. The file is touched only if its content changes.
set(commit unknown)
set(dirty 0)
find_package(Git QUIET)
if(GIT_FOUND)
  execute_process(COMMAND ${GIT_EXECUTABLE} -C ${source} rev-parse HEAD
                  OUTPUT_VARIABLE found OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
  if(NOT failed)
    set(commit ${found})
    execute_process(COMMAND ${GIT_EXECUTABLE} -C ${source} status --porcelain --untracked-files=no
                    OUTPUT_VARIABLE changes ERROR_QUIET)
    if(NOT "${changes}" STREQUAL "")
      set(dirty 1)
    endif()
  endif()
endif()
configure_file(${source}/bench/build_info.h.in ${out} @ONLY)

# SPDX-License-Identifier: Apache-2.0
# Not tried: no vcpkg was at hand. A port of the tree that it lies in:
#
#   vcpkg install dynalock --overlay-ports=packaging/vcpkg
#
# Needs GNU make and pkg-config. Always built for release, for the library has no debug interface.
set(VCPKG_BUILD_TYPE release)

get_filename_component(tree "${CMAKE_CURRENT_LIST_DIR}/../.." ABSOLUTE)
set(SOURCE_PATH "${CURRENT_BUILDTREES_DIR}/src")
file(REMOVE_RECURSE "${SOURCE_PATH}")
file(COPY "${tree}/" DESTINATION "${SOURCE_PATH}"
    PATTERN .git EXCLUDE
    PATTERN node_modules EXCLUDE
    REGEX "/(build|test/servers|test/sysroots)$" EXCLUDE)

vcpkg_find_acquire_program(PKGCONFIG)
vcpkg_cmake_get_vars(variables)
include("${variables}")

set(ENV{PKG_CONFIG_PATH} "${CURRENT_INSTALLED_DIR}/lib/pkgconfig")
set(make make
    "CC=${VCPKG_DETECTED_CMAKE_C_COMPILER}"
    "CXX=${VCPKG_DETECTED_CMAKE_CXX_COMPILER}"
    "AR=${VCPKG_DETECTED_CMAKE_AR}"
    "CFLAGS=${VCPKG_COMBINED_C_FLAGS_RELEASE}"
    "LDFLAGS=${VCPKG_COMBINED_SHARED_LINKER_FLAGS_RELEASE}"
    "PKG_CONFIG=${PKGCONFIG} --static"
    "DESTDIR=${CURRENT_PACKAGES_DIR}"
    prefix=
    bindir=/tools/dynalock
    cmakedir=/share/dynalock)
vcpkg_execute_required_process(
    COMMAND ${make} -j${VCPKG_CONCURRENCY} install
    WORKING_DIRECTORY "${SOURCE_PATH}"
    LOGNAME "build-${TARGET_TRIPLET}")

# One of the two libraries; dynalockConfig.cmake takes what is there.
if(VCPKG_LIBRARY_LINKAGE STREQUAL static)
    file(GLOB other "${CURRENT_PACKAGES_DIR}/lib/libdynalock.so*")
else()
    set(other "${CURRENT_PACKAGES_DIR}/lib/libdynalock.a")
endif()
file(REMOVE ${other})
vcpkg_fixup_pkgconfig()
vcpkg_copy_tool_dependencies("${CURRENT_PACKAGES_DIR}/tools/dynalock")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
file(INSTALL "${CMAKE_CURRENT_LIST_DIR}/usage" DESTINATION "${CURRENT_PACKAGES_DIR}/share/${PORT}")

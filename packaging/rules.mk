# SPDX-License-Identifier: Apache-2.0
# Included by the Makefile: the CMake package that `make install` puts beside dynalock.pc, and what makes packages.
.PHONY: dist distcheck deb check-units

# ---- The CMake package --------------------------------------------------------------------------

cmakedir ?= $(libdir)/cmake/dynalock
CMAKE_FILES := dynalockConfig.cmake dynalockConfigVersion.cmake

# The lines of `make install` and `make uninstall` for it.
define INSTALL_CMAKE
$(INSTALL) -d $(call at,$(cmakedir))
$(foreach file,$(CMAKE_FILES),sed -e $(call put_in,cmakedir,$(cmakedir)) -e $(call put_in,libdir,$(libdir)) \
	-e $(call put_in,includedir,$(includedir)) -e $(call put_in,version,$(VERSION)) \
	-e $(call put_in,shared,$(SHARED)) -e $(call put_in,soname,$(SONAME)) \
	packaging/cmake/$(file).in >$(call at,$(cmakedir)/$(file)) && \
	chmod 644 $(call at,$(cmakedir)/$(file)) &&) :
endef

define UNINSTALL_CMAKE
rm -f $(foreach file,$(CMAKE_FILES),$(call at,$(cmakedir)/$(file)))
rmdir $(call at,$(cmakedir)) 2>/dev/null || :
endef

# ---- Packages -----------------------------------------------------------------------------------

TARBALL = build/dynalock-$(VERSION).tar.gz
DEBS = build/deb

# The same files make the same bytes; see there.
dist:
	@packaging/dist '$(VERSION)' $(call quote,$(TARBALL))

# The tarball builds, installs and goes away again, on its own.
distcheck: dist
	@MAKE='$(MAKE)' packaging/distcheck '$(VERSION)' $(call quote,$(TARBALL))

# Debian packages, not signed. DEB_BUILD_OPTIONS is dpkg-buildpackage's.
deb: dist
	@packaging/deb '$(VERSION)' $(call quote,$(TARBALL)) $(call quote,$(DEBS))

# What a package's build may run: the programs that need neither a server nor the network, as built for use.
check-units: $(UNITS:%=build/release/test/%)
	@$(call write_runs,$(call runs,unit,static,release,$(UNITS)))
	@test/run-offline build/runs 'all but the unit tests: `make check` has them'

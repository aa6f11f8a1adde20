# One way to build every interface package of the tests.
macro(test_interfaces)
  # Libraries find their siblings wherever the install space is: the process that loads them was
  # started without it in LD_LIBRARY_PATH.
  set(CMAKE_INSTALL_RPATH "$ORIGIN")
  find_package(ament_cmake REQUIRED)
  # What Python over Fast DDS needs of rosidl_default_generators; the C++ half would take as long.
  foreach(generator rosidl_cmake rosidl_adapter rosidl_generator_type_description
      rosidl_generator_c rosidl_typesupport_c rosidl_typesupport_introspection_c
      rosidl_typesupport_fastrtps_c rosidl_generator_py)
    find_package(${generator} REQUIRED)
  endforeach()
  foreach(dependency ${ARGN})
    find_package(${dependency} REQUIRED)
  endforeach()
  file(GLOB interfaces RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} CONFIGURE_DEPENDS "msg/*.msg")
  rosidl_generate_interfaces(${PROJECT_NAME} ${interfaces} DEPENDENCIES ${ARGN})
  include(${CMAKE_CURRENT_SOURCE_DIR}/../../../../cmake/wheel_targets.cmake)
  edge_perception_drop_missing_include_directories()
  edge_perception_keep_numpy_include_directory_private()
  ament_export_dependencies(rosidl_default_runtime)
  ament_package()
endmacro()
